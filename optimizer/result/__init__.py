"""The result folder: files, their hashes, decisions that another run may take over."""
