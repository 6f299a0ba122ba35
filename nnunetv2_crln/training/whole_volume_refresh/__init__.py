"""Predict the unlabelled cases whole between epochs: where is foreground, and which predicted parts are implausible?"""
