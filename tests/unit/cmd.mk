# Unit tests of src/cmd.
