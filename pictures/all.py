"""All pictures by name; a page shows one as `![what one sees](../pictures/NAME.png)`."""

from pictures import adapters, clips, digits, gans, processes, small, sounds, stills, vaes
from pictures.registry import Picture

PICTURES: dict[str, Picture] = {
    name: picture
    for theme in (processes, digits, stills, gans, vaes, small, adapters, sounds, clips)
    for name, picture in theme.PICTURES.items()
}
