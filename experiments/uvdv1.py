"""The mixture of the paper: UVDv1, Table 1 (Bai et al. 2023), each data set by its tokens.

    python tools/train.py --config=experiments/uvdv1.py:root=/shards/uvdv1 --workdir=/runs/uvdv1

for those who have the data sets: ROOT/NAME holds the shards that tools/build_shards.py made of row
NAME of `TABLE`, and ROOT/held_out those to evaluate on. Who has some of them names these,
`:rows=laion+coco_depth`; the weights keep their proportions.

Hardware: as experiments/lvm.py:size=3b, whose model and mesh this is: a TPU slice of 128 chips.
Duration: the table sums to 412.7B tokens, 8.9e21 FLOPs at 3B, about 3.5 days at 50% of 128 x 459
TFLOP/s; computed, not measured.
Expected result: the paper's curve for this size ends at a loss of about 5.1 nats per token (read
off its Figure 3). Not reproduced here.
The table sums to less than the 420B tokens that the paper quotes, and the shares of its groups are
not those of its text; the weights are those of the table.
Arguments: root=shards/uvdv1, rows= (all), preset=3b.
"""

from ml_collections import ConfigDict

from experiments import common, lvm

# Name -> millions of tokens, data set, annotation and who annotated.
TABLE = {
    # Single images.
    "laion": (380690, "LAION-5B, 1.5B images of it", "", ""),
    # Images with annotations.
    "imagenet_categories": (1317.40, "ImageNet-1K", "category groups", "ground truth"),
    "coco_detection": (363, "COCO", "object detection", "MMDetection"),
    "ade20k_cityscapes_segmentation": (
        66.88,
        "ADE20K, Cityscapes",
        "semantic segmentation",
        "ground truth",
    ),
    "coco_imagenet_segmentation": (
        2078.06,
        "COCO, ImageNet-1K",
        "semantic segmentation",
        "Mask2Former",
    ),
    "human_pose": (950.79, "COCO, LV-MHP, MPII, Unite", "human pose", "MMPose"),
    "coco_imagenet_depth": (1623.85, "COCO, ImageNet-1K", "depth", "DPT"),
    "instructpix2pix_style": (
        415.46,
        "InstructPix2Pix, a part",
        "style transfer",
        "InstructPix2Pix",
    ),
    "coco_imagenet_normals": (1623.85, "COCO, ImageNet-1K", "surface normals", "NLL-AngMF"),
    "coco_imagenet_edges": (1623.85, "COCO, ImageNet-1K", "edges", "DexiNed"),
    "did_mdn_derain": (35.06, "DID-MDN", "rain removal", "ground truth"),
    "sidd_denoise": (245.76, "SIDD", "noise removal", "ground truth"),
    "lol_light": (0.458, "LOL", "light enhancement", "ground truth"),
    "imagenet_colorization": (1321.07, "ImageNet-1K", "colorization", "ground truth"),
    "imagenet_inpainting": (1321.07, "ImageNet-1K", "inpainting", "ground truth"),
    "kitti_stereo": (9.21, "KITTI", "stereo", "ground truth"),
    # Videos.
    "ucf101": (109.11, "UCF101", "", ""),
    "davis": (0.36, "DAVIS", "", ""),
    "hmdb": (55.41, "HMDB", "", ""),
    "activitynet": (380.63, "ActivityNet", "", ""),
    "moments_in_time": (2979.00, "Moments in Time", "", ""),
    "multi_moments_in_time": (4124.04, "Multi-Moments in Time", "", ""),
    "co3d": (228.75, "Co3D", "", ""),
    "charades": (241.53, "Charades v1", "", ""),
    "something_something": (904.57, "Something-Something v2", "", ""),
    "youcook": (3.14, "YouCook", "", ""),
    "kinetics_700": (7092.04, "Kinetics-700", "", ""),
    "msr_vtt": (57.34, "MSR-VTT", "", ""),
    "youtube_vos": (63.70, "YouTube-VOS", "", ""),
    "jester": (606.47, "Jester", "", ""),
    "diving48": (150.73, "Diving48", "", ""),
    "multisports": (78.44, "MultiSports", "", ""),
    "charades_ego": (193.06, "CharadesEgo", "", ""),
    "ava": (117.96, "AVA", "", ""),
    "ego4d": (1152.12, "Ego4D", "", ""),
    # Videos with annotations.
    "vipseg_segmentation": (64.47, "VIPSeg", "panoptic segmentation", "ground truth"),
    "hand14k_segmentation": (1.96, "Hand14K", "hand segmentation", "ground truth"),
    "ava_detection": (122.88, "AVA", "detection", "ground truth"),
    "jhmdb_flow": (19.00, "JHMDB", "optical flow", "ground truth"),
    "jhmdb_pose": (37.92, "JHMDB", "human pose", "ground truth"),
    # Views of 3D objects.
    "objaverse": (217.85, "Objaverse, rendered", "", ""),
}


def chosen(rows: str) -> list[str]:
    """The rows that "a+b" names, or all of them for "".

    Raises:
        ValueError: no such row.
    """
    names = rows.split("+") if rows else list(TABLE)
    for name in names:
        if name not in TABLE:
            raise ValueError(
                f"config argument rows={rows}: no row {name}; rows: {', '.join(TABLE)}"
            )
    return names


def get_config(arg: str = "") -> ConfigDict:
    values = common.parse_arg(arg, root="shards/uvdv1", rows="", preset="3b")
    root, names = values["root"], chosen(values["rows"])
    config = lvm.get_config("size=3b")
    config.model.preset = values["preset"]
    config.data = {
        "mixture": {name: {"shards": f"{root}/{name}", "weight": TABLE[name][0]} for name in names},
        "context": 4096,
    }
    config.eval_data = {"shards": f"{root}/held_out", "context": 4096}
    # One pass by the count of the table; the rarest rows come round as often as the others.
    config.loop.num_steps = f"{sum(TABLE[name][0] for name in names):.3f}m tokens"
    return config
