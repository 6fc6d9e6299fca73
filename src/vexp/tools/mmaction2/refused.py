"""The models and datasets that are refused: those of other tasks, and backbones that vexp does not have."""

from __future__ import annotations

#: The end of the sentence that refuses one of ``OTHER_TASKS``.
IMPORTED = "only video recognition, PoseC3D, BMN, and SlowOnly and SlowFast detectors can be imported"
#: Classes that belong to another task.
OTHER_TASKS = {
    "RecognizerGCN": "graph networks on skeletons", "SkeletonGCN": "graph networks on skeletons",
    **dict.fromkeys(("BSN", "TEM", "PEM", "SSN"), "temporal localization"),
    "FasterRCNN": "detection", "AVAKineticsDataset": "AVA-Kinetics", "MultiSportsDataset": "MultiSports",
    "AudioRecognizer": "audio", "RecognizerAudio": "audio", "AudioDataset": "audio", "AudioFeatureDataset": "audio",
    **dict.fromkeys(("CLIPSimilarity", "VindLURetrieval", "VindLURetrievalMC", "VideoTextDataset"), "retrieval"),
    **dict.fromkeys(("DRN", "TCANet", "SSNDataset", "CharadesSTADataset"), "temporal localization"),
    "VindLUVQA": "question answering",
    "MMRecognizer3D": "several modalities",
}  # fmt: skip
#: Backbones that vexp does not have -> the nearest model, if it is not that of the recognizer.
_NEAREST = {"ResNet3dLayer": "i3d_r50"}


def nearest_model(backbone: str, recognizer: str) -> str:
    """Return the option of group model that is nearest to a backbone that vexp does not have."""
    usual = "slowonly_r50" if recognizer == "Recognizer3D" else "tsn_r50"
    shifted = any(part in backbone for part in ("TSM", "TIN", "TANet"))
    return "tsm_r50" if shifted else _NEAREST.get(backbone, usual)
