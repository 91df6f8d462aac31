"""How are users and items encoded?"""
