"""The one error a user is meant to read."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave is wrong.

    ``where`` names the file or configuration field, ``problem`` says what is wrong with it and
    ``remedy`` what to do about it. The command line prints it as one line and exits with code 2.
    """

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = str(where), problem, remedy
        super().__init__(f"{self.where}: {problem}. {remedy}")

    def __reduce__(self):  # exceptions cross process borders; the default rebuilds from args alone
        return type(self), (self.where, self.problem, self.remedy)
