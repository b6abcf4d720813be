# Filled by what this folder holds.
