"""The loop around a training: scans come in, the next ones to annotate are chosen, their labels come back."""
