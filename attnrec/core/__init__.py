"""The ground floor, below all other rooms: errors, files and locks, signing, options, devices, measuring."""
