"""Commands: parse the arguments, call one function, print the result."""
