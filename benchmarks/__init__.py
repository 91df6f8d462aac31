"""How fast is it, against the plain alternative in the same run?"""
