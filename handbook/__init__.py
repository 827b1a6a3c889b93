"""What the documentation is made with: the generated reference (`make generate`) and the site's hooks (`make docs`)."""
