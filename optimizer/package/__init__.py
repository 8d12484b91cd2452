"""Packages of a result for devices and for other runtimes, checked by running them."""
