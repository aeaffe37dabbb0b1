"""Draws docs/pictures/history.png: which rows each part of a history sees.

  python docs/pictures/draw_history.py
"""

import os

from matplotlib import colors, patches
import matplotlib.pyplot as plt
import numpy as np

INK, SOFT, GRID = '#1d2733', '#5a6675', '#dfe4ea'
SEEN, TIMES, NOW = '#2a6fb0', '#b9cbe0', '#c8452f'
# Name on the axis -> place; not to scale, today's last hour is wide.
TICKS = {
    'Mon 0:00': 0.0, 'Tue 0:00': 2.0, 'Wed 0:00': 4.0, '13:30': 6.4,
    '13:55': 9.2, '14:05': 11.0,
}
MIDNIGHT, LIMIT, ASKED = TICKS['Wed 0:00'], TICKS['13:55'], TICKS['14:05']
# Place and label of the user's rows; those after LIMIT have no label yet.
ROWS = [
    (0.7, 0), (1.6, 1), (2.5, 0), (3.2, 1), (3.6, 0), (4.7, 1), (5.3, 0),
    (6.4, 1), (7.4, 0), (8.5, 1), (9.8, 1), (10.6, 0),
]  # fmt: skip
# Text of the option, and the columns that it makes.
LANES = [
    ('user', 'past_ctr_user  past_cvr_user\npast_count_user'),
    ('user:delay=10m', 'past_ctr_user_10m  ...'),
    ('user:delay=10m:window=1d', 'past_ctr_user_10m_window_1d  ...'),
    ('user:delay=10m:half_life=1d', 'past_ctr_user_10m_half_1d  ...'),
    (
        'user:delay=10m:last=3\n:amounts=none',
        'last_label_1_user_10m\nlast_age_1_user_10m  ...',
    ),
    (
        'list=item:by=user:of=click\n:last=4:delay=10m',
        'last_item_user_10m_click\n(the items, newest first)',
    ),
    (
        'session=user:pause=30m',
        'session_position_user_30m\nsession_age_...  session_gap_...',
    ),
]


def draw(path):
  plt.rcParams.update({'font.size': 9.5, 'font.family': 'DejaVu Sans'})
  figure, axes = plt.subplots(figsize=(13, 6.4))
  axes.axis('off')
  _time_line(axes)
  for k, (option, columns) in enumerate(LANES):
    y = -1.1 - k
    axes.plot([-4.5, 16.1], [y + 0.5] * 2, color=GRID, lw=0.8, zorder=0)
    axes.text(-4.5, y, option, family='DejaVu Sans Mono', va='center',
              color=INK, fontsize=9)
    axes.text(11.5, y, columns, family='DejaVu Sans Mono', va='center',
              color=SOFT, fontsize=8)
    _lane(axes, k, y)
  axes.text(
      -4.5, -7.95, 'Blue: counted, with labels. Pale: times alone. White: not'
      ' seen. The time axis is not to scale.', color=SOFT, va='center')
  axes.set_xlim(-4.6, 16.2)  # imshow has changed them.
  axes.set_ylim(-8.1, 1.9)
  figure.savefig(path, dpi=110, bbox_inches='tight', facecolor='white')


def _time_line(axes):
  """Draws the user's rows, the row that is asked for, and the limits."""
  axes.annotate('', (11.3, 0.6), (-0.2, 0.6),
                arrowprops={'arrowstyle': '->', 'color': SOFT})
  for name, x in TICKS.items():
    axes.plot([x, x], [0.52, 0.68], color=SOFT, lw=1)
    axes.text(x, 0.25, name, ha='center', va='center', color=SOFT, fontsize=8.5,
              zorder=5, bbox={'color': 'white', 'pad': 1.5})
  for x, label in ROWS:
    axes.scatter(x, 0.6, s=60, zorder=3, edgecolors=INK,
                 facecolors=INK if label else 'white')
  for k in range(3):
    axes.scatter(ASKED, 0.6 + 0.3 * k, s=70, marker='D', color=NOW, zorder=4)
  axes.text(11.35, 1.05, 'the row that is scored, at 14:05,\nand two others of'
            ' its request', color=NOW, va='center')
  axes.text(-4.5, 0.6, "one user's rows\n(● clicked, ○ not)", va='center',
            color=INK)
  for x, text in ((MIDNIGHT, 'delay=1d: midnight'),
                  (LIMIT, 'delay=10m')):
    axes.plot([x, x], [-7.4, 1.15], color=NOW, lw=1, ls=(0, (4, 3)), zorder=1)
    axes.text(x, 1.35, text, ha='center', va='center', color=NOW, fontsize=9)
  axes.plot([ASKED] * 2, [-7.4, 0.6], color=NOW, lw=1.2, zorder=1)


def _lane(axes, k, y):
  """Draws what the k-th option sees."""
  if k == 0:
    _bar(axes, -0.2, MIDNIGHT, y)
  elif k == 1:
    _bar(axes, -0.2, LIMIT, y)
  elif k == 2:
    _bar(axes, 3.05, LIMIT, y)
  elif k == 3:
    shades = colors.LinearSegmentedColormap.from_list('', ['white', SEEN])
    axes.imshow(
        np.linspace(0.1, 1, 256)[None] ** 1.3, cmap=shades, vmin=0, vmax=1,
        extent=(-0.2, LIMIT, y - 0.17, y + 0.17), aspect='auto', zorder=0.5)
  elif k == 6:
    _bar(axes, 6.2, ASKED - 0.06, y, TIMES)
  for x, label in ROWS:
    counts = {
        0: x < MIDNIGHT, 1: x < LIMIT, 2: 3.05 < x < LIMIT, 3: x < LIMIT,
        4: 6.3 < x < LIMIT, 5: label and 3 < x < LIMIT, 6: x > 6.2,
    }[k]
    if k in (4, 5) and counts:
      number = [p for p, c in reversed(ROWS)
                if p < LIMIT and (k == 4 or c)].index(x) + 1
      axes.scatter(x, y, s=230, color=SEEN, zorder=3)
      axes.text(x, y - 0.01, str(number), color='white', ha='center',
                va='center', fontsize=9, zorder=4)
      continue
    if k == 6:
      axes.scatter(x, y, s=34, zorder=3, edgecolors=SEEN if counts else GRID,
                   facecolors='white')
      continue
    full = INK if counts and k == 3 else 'white' if counts and k < 4 else GRID
    axes.scatter(x, y, s=34, zorder=3, edgecolors=full,
                 facecolors=full if label else 'none')


def _bar(axes, low, high, y, color=SEEN):
  axes.add_patch(patches.FancyBboxPatch(
      (low, y - 0.17), high - low, 0.34, color=color, lw=0,
      boxstyle='round,pad=0,rounding_size=0.08'))


if __name__ == '__main__':
  draw(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'history.png'))
