# Unit tests of src/sys.
