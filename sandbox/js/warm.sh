# Nothing to prepare.
true
