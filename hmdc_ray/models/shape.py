"""The shape of the images that a network takes."""

from __future__ import annotations

from dataclasses import dataclass

from hmdc_ray.errors import InputError


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Native shape of one image of the data set.

    Attributes:
        channels: number of channels: 1 (grey), 3 (colour), or any other positive number.
        height: height in pixels, at least 1.
        width: width in pixels, at least 1.
    """

    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"

    @property
    def values(self) -> int:
        """Number of values of an image: a number for every channel of every pixel."""
        return self.channels * self.height * self.width

    @property
    def margin(self) -> int:
        """Extra pixels of padding on each side in the first layer of a network with pooling.

        2 for grey 28x28 images, which so become 32x32 (Zhao, Mopuri, Bilen, arXiv 2006.05929,
        code); otherwise 0.
        """
        return 2 if (self.channels, self.height, self.width) == (1, 28, 28) else 0

    def require(self, least: int, margin: int = 0) -> None:
        """Refuse images that are too small for a network.

        Args:
            least: least height and width, in pixels, after padding.
            margin: pixels of padding on each side.

        Raises:
            InputError: the image is smaller.
        """
        if min(self.height, self.width) + 2 * margin < least:
            needed = least - 2 * margin
            raise InputError(
                f"images are {self}, must be at least {needed}x{needed} pixels for this network: "
                f"set data.image_size, such as [{needed}, {needed}]"
            )
