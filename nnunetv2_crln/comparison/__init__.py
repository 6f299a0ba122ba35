"""What the unlabelled cases bring on a user's own data: methods trained, judged on held-out cases, compared."""
