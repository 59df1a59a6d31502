"""Name the points of a 478-point face mesh that the puppets use.

The order is that of MediaPipe's face mesh (Kartynnik et al. 2019, arXiv:1907.06724): 468 points of the face, then five
of each iris. Left and right are those of the picture.
"""

from __future__ import annotations

POINTS = 478
FACE_POINTS = 468

# From the left corner of the mouth to its right corner.
UPPER_LIP_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LOWER_LIP_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)

# From the left corner of each eye to its right corner.
UPPER_LID = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LOWER_LID = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
LID_CREASE = ((130, 247, 30, 29, 27, 28, 56, 190, 243), (463, 414, 286, 258, 257, 259, 260, 467, 359))
IRIS = (468, 473)                      # centres
BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))

FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
             149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
FOREHEAD, CHIN = 10, 152
MOUTH_CORNERS = (61, 291)
LIP_MIDDLE = (13, 14)                  # lower edge of the upper lip, upper edge of the lower lip
EYE_CORNERS = (33, 263)                # outer corners
CHEEKS = (234, 454)                    # the widest points of the face
