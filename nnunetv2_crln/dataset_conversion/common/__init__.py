"""Parts that the dataset conversion scripts share: reading, checking and writing cases, splits, summaries."""
