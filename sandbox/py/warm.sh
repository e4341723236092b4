# Nothing to prepare yet.
true
