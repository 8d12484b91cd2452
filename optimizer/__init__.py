"""What the user drives: recipes, the pipeline, the result folder, the command line."""
