"""Classes of cards by the names that NVML, Slurm and sites have for them, and for their instances."""

from __future__ import annotations

import pytest

from bench.estimate.gpu_classes import gpu_class


@pytest.mark.parametrize(
    ("model", "name", "gigabytes"),
    [
        ("Tesla T4", "T4", 16),
        ("NVIDIA A10", "A10", 24),
        ("NVIDIA A10G", "A10", 24),
        ("NVIDIA A100-SXM4-40GB", "A100", 40),
        ("NVIDIA A100-SXM4-80GB", "A100", 80),
        ("NVIDIA A100 80GB PCIe", "A100", 80),
        ("a100", "A100", 40),
        ("nvidia_a100_80gb_pcie_1g.10gb", "A100 1g.10gb", 10),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "A100 3g.20gb", 20),
        ("NVIDIA A40", "A40", 48),
        ("NVIDIA L4", "L4", 24),
        ("l40s", "L40S", 48),
        ("NVIDIA L40", "L40", 48),
        ("NVIDIA H100 NVL", "H100", 80),
        ("NVIDIA H200", "H200", 141),
        ("NVIDIA GH200 480GB", "GH200", 96),
        ("gb200", "B200", 180),
        ("NVIDIA GeForce RTX 3090", "RTX 3090", 24),
        ("rtx3090", "RTX 3090", 24),
        ("geforce_rtx_2080_ti", "RTX 2080 Ti", 11),
        ("NVIDIA RTX A6000", "RTX A6000", 48),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", 48),
        ("Quadro RTX 6000", "Quadro RTX 6000", 24),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000", 96),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000", 96),
        ("a100l", "A100", 40),
        ("NVIDIA A100-SXM-64GB", "A100", 64),
        ("NVIDIA H100 64GB HBM2", "H100", 64),
        ("Tesla V100-SXM2-16GB", "V100", 16),
        ("v100l", "V100", 16),
        ("Tesla P100-PCIE-12GB", "P100", 12),
        ("Quadro RTX 5000", "Quadro RTX 5000", 16),
        ("NVIDIA RTX 5000 Ada Generation", "RTX 5000 Ada", 32),
        ("rtx_2080", "RTX 2080", 8),
        ("3060ti", "RTX 3060", 8),
        # Instances, as NVML and as sites call them; some name no card.
        ("NVIDIA A100-SXM4-80GB MIG 1c.3g.40gb", "A100 1c.3g.40gb", 40),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb+me", "H100 1g.10gb", 10),
        ("a100_1g5gb", "A100 1g.5gb", 5),
        ("2g.20gb", "MIG 2g.20gb", 20),
        ("mig-1g.5gb", "MIG 1g.5gb", 5),
        ("T4G 16GB", "T4", 16),
    ],
)
def test_cards_are_known_by_every_name(model: str, name: str, gigabytes: int) -> None:
    found = gpu_class(model)
    assert found is not None
    assert (found.name, found.bytes) == (name, gigabytes * 10**9)


@pytest.mark.parametrize(
    "model",
    ["k80", "Tesla K80", "m60", "rtx_3050", "gpu", "A1000", "", "NVIDIA GeForce RTX 4090 Laptop GPU"],
)
def test_other_cards_are_not_taken_for_one_of_them(model: str) -> None:
    assert gpu_class(model) is None


def test_an_instance_has_its_share_of_the_rates() -> None:
    whole, part = gpu_class("a100"), gpu_class("a100_3g.20gb")
    assert whole is not None
    assert part is not None
    for storage in ("fp32", "nf4"):
        assert part.sustained(storage) == pytest.approx(3 / 7 * whole.sustained(storage))
        for name, share in (("a100_1g5gb", 1 / 7), ("A100 MIG 1c.3g.20gb", 1 / 7), ("2g.20gb", 2 / 7)):
            found = gpu_class(name)
            assert found is not None
            assert found.sustained(storage) == pytest.approx(share * whole.sustained(storage))
