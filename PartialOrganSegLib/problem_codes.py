"""The kinds of problems, each with a short name that never changes: what a program can tell them apart by."""

from __future__ import annotations

from .text_enum import TextEnum


class Code(TextEnum):
    """A kind of problem; the member's value is what JSON events carry.

    `arises` says when the problem comes up and `remedy` what a person can do. The page docs/reference/problems.md is
    written from them by scripts/write_problem_page.py.
    """

    def __init__(self, value: str, arises: str, remedy: str) -> None:
        self.arises, self.remedy = arises, remedy

    # What any command can run into.
    GENERAL = ("general", "A problem that belongs to none of the kinds below.", "Read its text.")
    INTERNAL = ("internal", "Something went wrong that nobody foresaw.",
                "Look into the log that the text names, and report it.")
    CANCELLED = ("cancelled", "A person or a program ended the command.", "Start it again; a training goes on with "
                 "`--resume`.")
    WRONG_USAGE = ("wrong-usage", "The command line has an unknown option, or lacks one.", "See the command's "
                   "`--help`.")
    FORMER_NAME = ("former-name", "A script uses the name that something had in an earlier version.",
                   "It still works; write today's name.")
    PACKAGE_MISSING = ("package-missing", "A Python package is needed that is not installed.",
                       "Install it as the text says.")

    # Files.
    FILE_MISSING = ("file-missing", "A file or folder that was named is not there.", "Check its path.")
    FILE_EXISTS = ("file-exists", "Something is where a result shall go.", "Choose another output, or allow replacing "
                   "it as the text says.")
    FILE_DAMAGED = ("file-damaged", "A file is cut short or damaged.", "Copy or export it again.")
    NOT_READABLE = ("not-readable", "The system does not let a file be read.", "Check its permissions and the disk.")
    NOT_WRITABLE = ("not-writable", "A file or folder cannot be written: no room, no permission.",
                    "Make room, or choose another place.")
    WRONG_FORMAT = ("wrong-format", "A file or its content is of another kind than expected.",
                    "Give a file of the kind that the text names.")
    PATH_UNFIT = ("path-unfit", "A path has letters that a library cannot open on this system.",
                  "Rename the folder, or move the files.")
    CHECKSUM_DIFFERS = ("checksum-differs", "A file's SHA-256 is not the expected one.",
                        "Fetch the file again; do not use it as it is.")
    UNSAFE_FILE = ("unsafe-file", "A file could run code or write outside of its folder, so it is refused.",
                   "Get the model from a source that gives safetensors.")
    TOO_LARGE = ("too-large", "A file is larger than anything that is expected there.", "Check the address or file.")
    DOWNLOAD_FAILED = ("download-failed", "An address could not be reached, or the connection broke.",
                       "Check the address and the network, and try again.")

    SERVER_REFUSED = ("server-refused", "A server that segments for others does not take the request: the token is "
                      "wrong, the CT too large, or too many wait.", "Read why in the text; ask whoever runs it.")

    # Images and label maps.
    NOT_A_VOLUME = ("not-a-volume", "An image is not one 3-D volume with one number a voxel.",
                    "Give a single 3-D image.")
    NOT_A_CT = ("not-a-ct", "An image does not look like a CT in Hounsfield units.",
                "Check the file; `--force` segments it anyway.")
    WRONG_MODALITY = ("wrong-modality", "A data set or DICOM series is not of modality CT.", "Check which images it "
                      "holds.")
    VOXELS_UNUSABLE = ("voxels-unusable", "Too many voxels hold no number.", "Look how the image was made.")
    GRID_UNUSABLE = ("grid-unusable", "An image's spacing, position or direction cannot be worked with.",
                     "Export the image again, or resample it.")
    GRID_ADJUSTED = ("grid-adjusted", "An image's voxels did not lie on a rectangular grid, or its header says two "
                     "things; it was mended.", "Look whether the result lies where it should.")
    GEOMETRY_DIFFERS = ("geometry-differs", "Two images that belong together lie on different grids.",
                        "Resample one onto the other.")
    COARSE_VOXELS = ("coarse-voxels", "The voxels are too large for small organs.",
                     "Expect little of small organs, or take a finer reconstruction.")
    VOXELS_REPLACED = ("voxels-replaced", "Some voxels hold no number and were replaced by air.",
                       "Look whether they matter.")
    SLICES_MISSING = ("slices-missing", "A DICOM series lacks slices, or its slices are unevenly spaced.",
                      "Export all slices of the series.")
    SLICES_LEFT_OUT = ("slices-left-out", "Several slices lie at one position; one of them is used.",
                       "Look whether the series holds two scans.")
    SERIES_UNCLEAR = ("series-unclear", "There are several DICOM series, or none of the name asked for.",
                      "Choose one with `--series`; for `learn` and manifests put each into a folder of its own.")
    DICOM_TAG_MISSING = ("dicom-tag-missing", "A DICOM file lacks something that DICOM asks for.",
                         "Export the series again, or give one that has it.")
    UNKNOWN_LABEL = ("unknown-label", "A label map holds a value that has no meaning.",
                     "Name it in `label_map`, or check the label space.")
    SIDE_UNDECIDED = ("side-undecided", "A label could not be split into left and right.",
                      "Nothing, or label the sides: it counts as either of the two.")

    # Names and settings.
    UNKNOWN_NAME = ("unknown-name", "A name is not among those that are known.", "Take one of those in the text.")
    NAME_TAKEN = ("name-taken", "A name is used already.", "Choose another one, or allow replacing.")
    NAME_UNFIT = ("name-unfit", "A name has letters or a length that cannot be used.", "Choose another one.")
    VALUE_OUT_OF_RANGE = ("value-out-of-range", "A number is smaller or larger than allowed.",
                          "Take one in the range that the text gives.")
    VALUE_UNFIT = ("value-unfit", "A setting's value is of a form or kind that it cannot have.",
                   "Give what the text expects.")
    SETTING_MISSING = ("setting-missing", "Something has to be given that was not.", "Give it.")
    SETTINGS_CONFLICT = ("settings-conflict", "Two settings or inputs exclude each other.", "Leave one of them out.")
    SETTING_IGNORED = ("setting-ignored", "A setting has no effect here.", "Nothing, or leave it out.")
    SETTING_SLOW = ("setting-slow", "A setting makes the work slower than need be.", "Change it as the text says.")

    # Data sets and cases.
    NO_CASES = ("no-cases", "No case is left that the command could work on.", "Check the list, folder or manifest.")
    NO_LABELS = ("no-labels", "No voxel is labelled with what is needed.", "Label it, or leave the organ out.")
    ORGAN_ABSENT = ("organ-absent", "An organ is not in a label that should have it.",
                    "Look whether it is only not drawn; then make the case partial.")
    CASE_UNPAIRED = ("case-unpaired", "A prediction has no reference or the other way round.",
                     "Check the names of the files.")
    CASE_SKIPPED = ("case-skipped", "A case is left out.", "Read why in the text.")
    CASE_RENAMED = ("case-renamed", "Two inputs have the same name.", "Nothing; the text says what the results are "
                    "called.")
    CASES_JOINED = ("cases-joined", "Cases of a manifest are of one image or one patient under different groups.",
                    "Nothing: they are held out together; give them one `group`.")
    LABELS_UNDERSTOOD = ("labels-understood", "The labels of a data set's folder were understood in a certain way.",
                         "Write a manifest with a `label_map` if that is wrong.")
    LABELS_IGNORED = ("labels-ignored", "A manifest says that some values of a label are not to be trusted.",
                      "Nothing if that is meant.")

    # Models.
    BUNDLE_BROKEN = ("bundle-broken", "A model bundle lacks a file or has wrong metadata.", "Install it again.")
    MODEL_INSTALLED = ("model-installed", "A model of that name is installed.", "Allow replacing it with `--replace`, "
                       "or choose another name.")
    MODEL_UNFIT = ("model-unfit", "A model is not of the kind that is needed, or its weights do not fit its network.",
                   "Choose another model.")
    MODEL_UNSUPPORTED = ("model-unsupported", "An nnU-Net model uses something that cannot be followed exactly.",
                         "Train it again without, with nnU-Net version 2.")
    MODEL_NOTE = ("model-note", "An imported model differs from its original in something.", "Read the text.")
    NO_MODEL = ("no-model", "No model is installed.", "See `partialorganseg models install --help`.")
    NO_CHECKSUM = ("no-checksum", "A download has no known checksum to compare with.",
                   "Compare the one in the text with its author's.")
    NEW_ORGANS = ("new-organs", "A run has organs that its start model does not know.", "Nothing if that is meant.")
    DROPPED_ORGANS = ("dropped-organs", "A run leaves organs out that its start model knows.",
                      "Nothing if that is meant.")
    START_DIFFERS = ("start-differs", "A run has other settings than its start model was trained with.",
                     "Nothing if that is meant.")

    # Machines.
    NO_MEMORY = ("no-memory", "There is not enough memory.", "Close other programs, or take smaller sizes as the text "
                 "says.")
    TIME_LIMIT = ("time-limit", "A case took longer than `--time-limit` allows, and was ended.",
                  "Look at the case, or allow more time.")
    MEMORY_TIGHT = ("memory-tight", "The work needs most of the free memory.", "Close other programs.")
    NO_DEVICE = ("no-device", "The device asked for is not in this machine.", "Choose another `--device`.")
    CLUSTER_UNREACHABLE = ("cluster-unreachable", "No Ray cluster answers at the address.",
                           "Check the address and start the cluster.")
    CLUSTER_UNFIT = ("cluster-unfit", "A computer of the cluster cannot do the work.", "Read why in the text.")
    WORKER_DIED = ("worker-died", "A worker ended while it was at a case.", "Nothing; the case is tried again or "
                   "listed as failed.")

    # Training.
    NO_CHECKPOINT = ("no-checkpoint", "There is nothing to resume from.", "Start without `--resume`.")
    RESUME_DIFFERS = ("resume-differs", "Something that decides a run's numbers changed since it began.",
                      "Put it back, or start a new run.")
    FOLDER_IN_USE = ("folder-in-use", "Another run is at work in the folder.", "Wait for it, or choose another "
                     "folder.")
    DIVERGED = ("diverged", "The loss became infinite or no number.", "Go on from the last checkpoint with a lower "
                "learning rate.")
    PROCESSES_DIFFER = ("processes-differ", "Several processes do not compute exactly what one would.",
                        "Nothing, or train in one process or on GPUs.")
    NOT_MEASURED = ("not-measured", "Some organs cannot be measured: too little of them is labelled.",
                    "Label more of them.")
    NOT_BETTER = ("not-better", "A fine-tuned model is not better than its start model.",
                  "Go on with the start model, or judge the new one by eye.")
    DRIFTED = ("drifted", "An organ that was not to be learnt changed on phantoms or on CTs without masks.",
               "Look at it in a CT.")
    LITTLE_TO_LEARN = ("little-to-learn", "The start model finds what is to be learnt as well as people agree.",
                       "Nothing, or correct single CTs with strokes.")
    KNOWS_LITTLE = ("knows-little", "The start model hardly finds what is to be learnt, and is trained on itself.",
                    "Learn beside it: `finetune --beside`, `learn --beside always`.")
    FEW_STEPS = ("few-steps", "So few steps fit into a fine-tuning's time that little can be learnt.",
                 "Allow more minutes, or leave less to be measured on.")
    DATA_WARNING = ("data-warning", "The cases of a fine-tuning look as if something were amiss.", "Read the text.")
