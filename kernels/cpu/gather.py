"""Bringing images into scratch buffers, in the order the micro-kernels want, with the padding as zeros."""

from numba import carray

from .jobs import fill
from .microkernel import copy_row, shifted
from .support import part
from .threads import call


@part
def gather(x, plan, first, images, group, row, target):
    """Copy a zero-padded stretch of images into target (C, phases, images, rows, columns), every split-th pixel."""
    down, right, columns = plan.split_rows, plan.split_columns, plan.width
    for c in range(plan.channels):
        for phase in range(down * right):
            # Inside the image are the rows top ≤ r < bottom and the columns low ≤ q < high.
            up, shift = plan.before_rows - phase // right - row * down, plan.before_columns - phase % right
            top, bottom = inside(-up, down, plan.image_height, plan.height)
            low, high = inside(-shift, right, plan.image_width, columns)
            for n in range(plan.together):
                if n >= images:
                    top, bottom = plan.height, plan.height
                place = shifted(target, ((c * down * right + phase) * plan.together + n) * plan.height * columns)
                channel = ((first + n) * plan.groups + group) * plan.channels + c
                source = shifted(x, (channel * plan.image_height - up) * plan.image_width - shift)
                fill(place, top * columns, 0)
                fill(shifted(place, bottom * columns), (plan.height - bottom) * columns, 0)
                for r in range(top, bottom):
                    line, pixels = shifted(place, r * columns), shifted(source, r * down * plan.image_width)
                    if right == 1:
                        copy_row(line, pixels, columns, low, high)
                    else:
                        fill(line, columns, 0)
                        copy_steps(shifted(line, low), 1, shifted(pixels, low * right), right, high - low)


@part
def inside(position, stride, size, count):
    """The low ≤ i < high whose pixel position + stride·i lies inside the image."""
    low = min(count, max(0, -(position // stride)))
    return low, min(count, max(low, (size - 1 - position) // stride + 1))


@part
def copy_steps(target, target_step, source, source_step, count):
    if target_step == 1 and source_step == 1:
        copy_row(target, source, count, 0, count)
        return
    to, line = carray(target, count * target_step), carray(source, count * source_step)
    if target_step == 1 and source_step == 2:  # steps that the compiler knows become vector code
        for k in range(count):
            to[k] = line[2 * k]
    else:
        for k in range(count):
            to[k * target_step] = line[k * source_step]


@part
def gather_channels_last(x, plan, first, images, group, row, target):
    """Copy a zero-padded stretch of images into target (images, rows, columns, C), pixels ``pitch`` apart."""
    size, area = plan.image_height * plan.image_width, plan.height * plan.width * plan.pitch
    for n in range(images):
        channel = ((first + n) * plan.groups + group) * plan.channels
        channels_last(shifted(target, n * area), plan.transpose, shifted(x, channel * size), plan.channels,
                      plan.image_height, plan.image_width, row * plan.stride_rows - plan.before_rows,
                      -plan.before_columns, plan.height, plan.width, plan.pitch)


@part
def channels_last(target, transpose, source, channels, height, width, first_row, first_column, rows, columns, pitch):
    """Copy rows × columns pixels, from a place that may lie outside the image, with zeros for what is outside."""
    top, bottom = inside(first_row, 1, height, rows)
    low, high = inside(first_column, 1, width, columns)
    fill(target, top * columns * pitch, 0)
    fill(shifted(target, bottom * columns * pitch), (rows - bottom) * columns * pitch, 0)
    for r in range(top, bottom):
        line = shifted(target, r * columns * pitch)
        pixels = shifted(source, (first_row + r) * width + first_column)
        if channels == 1 and pitch == 1:
            copy_row(line, pixels, columns, low, high)
        else:
            fill(line, low * pitch, 0)
            fill(shifted(line, high * pitch), (columns - high) * pitch, 0)
            call(transpose, (shifted(line, low * pitch), pitch, shifted(pixels, low), height * width, channels,
                             high - low))
