"""What a training needs and costs on hardware that is not here."""
