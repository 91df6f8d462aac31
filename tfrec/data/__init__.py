"""How does a log become episodes?"""
