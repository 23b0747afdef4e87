"""Environments: tasks written once, stepped by a physics engine of choice. The only room that imports a simulator."""
