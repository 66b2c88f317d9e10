"""{{ cookiecutter.project_name }}."""

__version__ = "0.1.0"

TITLE = "{{ cookiecutter.project_name }}"
