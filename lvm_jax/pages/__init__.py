"""Pages of HTML that are one file each: style, elements, drawings."""
