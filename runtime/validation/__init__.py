"""A changed model beside the original: outputs, layers, words."""
