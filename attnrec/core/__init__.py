"""What every other package builds on: errors, files and locks, signing, options, devices, measuring."""
