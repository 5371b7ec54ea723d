"""Models the project trains itself, their data, and the float32 reference they are compared with."""
