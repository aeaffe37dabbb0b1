"""The package as it is entered: installed, or from a checkout.

  checkout      the modules of configs/ and experiments/ by both of their names
  commands      programs and configs as people type them here
  requirements  whether the packages that all programs need are installed
  shipped       names of the configs and tables that come with the package

Nothing here imports a package that has to be installed.
"""
