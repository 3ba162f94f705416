from nexus.recipes.find import *  # temporary
