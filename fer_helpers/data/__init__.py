"""Where faces come from: files, folders, Kaggle, or synthetic ones."""
