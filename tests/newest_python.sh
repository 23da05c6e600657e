#!/usr/bin/env bash
# Unpacks a Python that this system has no package of, from Debian's testing: newest_python.sh FOLDER VERSION PATCHELF HOME.
# It will run in the folder HOME, beside the system's own, since it is bound to the libraries that come with it.
set -euo pipefail
folder=$1 version=$2 patchelf=$3 home=$4
state=$folder/apt
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
site=$(apt-get indextargets --format '$(SITE)' | grep '/debian$' | head -n 1)
echo "deb $site testing main" >"$state/sources.list"
options=(
    -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$state/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$state/cache"
    -o APT::Install-Recommends=false -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=true
)
apt-get "${options[@]}" -qq update
apt-get "${options[@]}" -qq -y --download-only install "python$version" "python$version-venv"
for package in "$state"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$folder"
done
rm -rf "$state"
"$patchelf" --set-interpreter "$home/usr/lib64/ld-linux-x86-64.so.2" \
    --force-rpath --set-rpath "$home/usr/lib/x86_64-linux-gnu" "$folder/usr/bin/python$version"
# Debian's ensurepip takes pip from where packages are installed.
sed -i "s|'/usr/share/python-wheels|'$home/usr/share/python-wheels|" "$folder/usr/lib/python$version/"{ensurepip/__init__,_sysconfigdata_*}.py
