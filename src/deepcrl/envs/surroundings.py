"""What a walking robot's model has around it: floor, light, sky and the walls of a maze."""

from typing import TYPE_CHECKING

from deepcrl.envs.layouts import Layout, wall_boxes

if TYPE_CHECKING:
    import mujoco

_WALL_RGBA = (0.45, 0.52, 0.62, 1.0)


def add_surroundings(mujoco, spec: "mujoco.MjSpec", layout: Layout | None, cell_size: float) -> "mujoco.MjsGeom":
    """Add them to a model whose geoms by default touch nothing. Walls are half as high as a cell is wide.

    Returns:
        The floor, for what is particular to one model.
    """
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = (0.35, 0.35, 0.35), (0.45, 0.45, 0.45)
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1920, 1080
    sky = {"type": mujoco.mjtTexture.mjTEXTURE_SKYBOX, "builtin": mujoco.mjtBuiltin.mjBUILTIN_GRADIENT}
    spec.add_texture(name="sky", rgb1=(0.75, 0.83, 0.92), rgb2=(0.95, 0.96, 0.98), width=128, height=768, **sky)
    checks = {"type": mujoco.mjtTexture.mjTEXTURE_2D, "builtin": mujoco.mjtBuiltin.mjBUILTIN_CHECKER}
    spec.add_texture(name="checks", rgb1=(0.86, 0.87, 0.88), rgb2=(0.79, 0.81, 0.83), width=256, height=256, **checks)
    surface = spec.add_material(
        name="floor", texuniform=True, texrepeat=(1 / cell_size, 1 / cell_size), reflectance=0.05
    )
    surface.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "checks"
    world = spec.worldbody
    world.add_light(type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=(0, 0, 40), dir=(0.3, 0.2, -1.0))
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    floor = world.add_geom(name="floor", type=plane, size=(100, 100, 1), material="floor", conaffinity=1)
    for row, column, rows, columns in wall_boxes(layout or ()):
        world.add_geom(
            name=f"wall_{row}_{column}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=((row + (rows - 1) / 2) * cell_size, (column + (columns - 1) / 2) * cell_size, cell_size / 4),
            size=(rows * cell_size / 2, columns * cell_size / 2, cell_size / 4),
            contype=1,
            conaffinity=1,
            rgba=_WALL_RGBA,
        )
    return floor
