"""An action plugin that runs a module twice and a shell line once."""

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        words = [self._task.args["word"], "second"]
        answers = [
            self._execute_module("test.words.say", module_args={"word": word}, task_vars=task_vars)
            for word in words
        ]
        line = self._low_level_execute_command("echo low level; echo err >&2; exit 3")
        result.update(said=[answer["said"] for answer in answers], line=line)
        return result
