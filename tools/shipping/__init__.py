"""From a training of the study to the pair that the package ships."""
