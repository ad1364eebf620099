"""One fit on several GPUs; on a machine without, on several processes of its CPU.

    accelerate launch examples/train_distributed.py

starts one process for each GPU, all with this script. The data are scikit-learn's
digits, of which 30 % get wrong labels; three lines make the difference to a script for
one GPU.
"""

import sys

from accelerate import Accelerator  # 1
from sklearn.datasets import load_digits

from sklearn_turn import TURNClassifier
from sklearn_turn.noise import symmetric

accelerator = Accelerator()  # 2: connects the processes

digits = load_digits()
images, y = digits.images[:600] / 16, digits.target[:600]
y_noisy = symmetric(y, 0.3, random_state=0)

clf = TURNClassifier(
    "letters",
    augment=None,  # mirrored digits are no digits
    fft_epochs=2,
    random_state=0,
    distributed=True,  # all processes work on the same fit
)
clf.fit(images, y_noisy)

if accelerator.is_main_process:  # 3
    flagged = ~clf.clean_mask_
    print(f"{flagged.sum()} labels flagged, {(y_noisy != y)[flagged].sum()} wrong")
    print(f"{clf.score(images, y):.3f} of the true labels recovered")
    if len(sys.argv) > 1:
        clf.save(sys.argv[1])
