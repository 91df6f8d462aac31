"""How is experience stored and drawn?"""
