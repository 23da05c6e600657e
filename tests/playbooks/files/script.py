import sys

print("python script", sys.argv[1:], sys.version_info[0])
