"""Two processes that a launcher starts, on small networks, against one process with batches of twice the size."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aelib import distributed, learned, models, prior, train, train_rate

SECONDS = 180  # far more than two processes take, even where other work goes on
DESIGN = learned.Design(1, widths=(4, 8), blocks=(1, 1), groups=(1, 1, 2, 4), hidden=4, halved=2)
# 75 images in batches of 16: the last batch is of 11, an odd number.
FIT = train.Settings(epochs=3, batch_size=8, flips=True, shift=2, weight_decay=0.03, average=0.9, loss="mse")
RATE = train_rate.Settings(steps=8, batch_size=4, hard=0.25)

WORK = """
import json, os, sys, time
from pathlib import Path
import torch
from safetensors.torch import save
sys.path.insert(0, sys.argv[1])
from test_distributed import losses, run
from aelib import distributed, storage

what, folder, slow = sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
rank, write = os.environ.get("RANK", "0"), storage.write_whole

def noted(file, content, **options):
    with (folder / "writers").open("a") as log:
        log.write(rank)
    write(file, content, **options)

def progress(record):
    print(rank, record, flush=True)
    time.sleep(slow)

storage.write_whole = noted
model, history = run(what, 1, folder / "run.pt", progress, seed=int(rank))
weights = {name: value.contiguous() for name, value in model.state_dict().items()}
(folder / f"weights-{rank}").write_bytes(save(weights))
(folder / f"losses-{rank}.json").write_text(json.dumps(losses(history)))
"""


def images_of(count):
    generator = torch.Generator().manual_seed(1)
    steps = torch.randint(-9, 10, (count, 1, 28, 28), generator=generator)
    return (128 + steps.cumsum(2).cumsum(3) // 4).clamp(0, 255).to(torch.uint8)


def fresh(what, seed):
    """A network whose start differs from process to process, unless the first one's is taken by all."""
    torch.manual_seed(seed)
    if what == "rate":
        return learned.Model(DESIGN)
    return models.build(what, 6, channels=1, size=28, seed=seed)


def run(what, factor, checkpoint, progress, seed):
    """Train with `factor` times the batch size."""
    torch.set_num_threads(1)
    model, images = fresh(what, seed), images_of(95)
    settings = RATE if what == "rate" else FIT
    settings = replace(settings, batch_size=factor * settings.batch_size)
    options = {"device": "cpu", "checkpoint": checkpoint, "progress": progress}
    if what == "rate":
        return model, train_rate.fit(model, images[:75], images[75:], settings, every=2, **options)
    return model, train.fit(model, images[:75], images[75:], settings, **options)


def losses(history):
    return [getattr(one, "loss", None) or one.train_loss for one in history]


def start(what, folder, slow=0.0):
    folder.mkdir(exist_ok=True)
    script = folder / "work.py"
    script.write_text(WORK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [script, Path(__file__).parent, what, folder, str(slow)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors[-3000:]
    return out.splitlines()


def outcome(folder, rank):
    return load_file(folder / f"weights-{rank}"), json.loads((folder / f"losses-{rank}.json").read_text())


def equal(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Train in two processes, once for each kind of work; return the folder and the lines shown."""
    done = {}

    def train_both(what):
        if what not in done:
            folder = tmp_path_factory.mktemp(what)
            done[what] = folder, finish(start(what, folder))
        return done[what]

    return train_both


@pytest.mark.parametrize("what", ["conv", "ordered", "rate"])
def test_two_processes_train_as_one_with_the_doubled_batch(what, both):
    folder, said = both(what)
    first, second = outcome(folder, 0), outcome(folder, 1)
    assert first[1] == second[1]
    assert equal(first[0], second[0]), "all hold the same weights"
    model, history = run(what, 2, None, None, seed=0)
    # Sums in another order: seven digits, and Adam divides by what may be small.
    assert first[1] == pytest.approx(losses(history), rel=1e-4)
    for name, value in model.state_dict().items():
        assert torch.allclose(value, first[0][name], atol=1e-4), name
    assert [line[0] for line in said] == ["0"] * len(history), "one process shows progress"
    assert (folder / "writers").read_text() == "0" * len(history), "one process writes"


@pytest.mark.parametrize("what", ["conv", "rate"])
def test_training_goes_on_after_one_process_was_killed(what, both, tmp_path):
    launcher = start(what, tmp_path, slow=1.0)
    assert launcher.stdout.readline()
    assert launcher.stdout.readline().startswith("0 "), "two looks are kept"
    workers = children(launcher.pid)
    assert len(workers) == 2
    os.kill(workers[1], 9)
    launcher.communicate(timeout=SECONDS)
    assert launcher.returncode != 0, "the launcher ends the others"
    assert not list(tmp_path.glob("weights-*"))
    assert (tmp_path / "run.pt").is_file()
    said = finish(start(what, tmp_path))
    straight = outcome(both(what)[0], 0)
    assert 0 < len(said) <= len(straight[1]) - 2, "the first looks are not taken again"
    weights, found = outcome(tmp_path, 0)
    assert found == straight[1]
    assert equal(weights, straight[0])


PRETRAIN = ["aelib.pretrain", "mnist-dense-2", "--epochs", "1"]
TRAIN_CODEC = ["aelib.train_codec", "mnist", "--steps", "2", "--batch", "2", "--device", "cpu"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
ACCELERATE += ["--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"]


@pytest.mark.parametrize(
    ("launcher", "command"), [(TORCHRUN, PRETRAIN), (TORCHRUN, TRAIN_CODEC), (ACCELERATE, PRETRAIN)]
)
def test_the_commands_write_once_under_a_launcher(launcher, command, tmp_path):
    places = ["--runs", str(tmp_path / "runs"), "--folder", str(tmp_path), "--source", "sample"]
    whole = [sys.executable, "-m", *launcher, "-m", *command, *places]
    run = subprocess.run(whole, timeout=SECONDS, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    (card,) = [json.loads(file.read_text()) for file in tmp_path.glob("*.json")]
    assert card["recipe"]["batch_size"] == 2 * (2 if "steps" in card["recipe"] else 64)
    assert len([line for line in run.stdout.splitlines() if "epoch" in line or "step " in line]) == 1


def test_one_process_goes_on_where_two_were(both, tmp_path):
    shutil.copy(both("conv")[0] / "run.pt", tmp_path / "run.pt")
    model, _ = run("conv", 2, tmp_path / "run.pt", pytest.fail, seed=3)
    assert equal(model.state_dict(), outcome(both("conv")[0], 0)[0]), "a run of two is one of the doubled batch"


def children(parent):
    """The processes that a process started and that still run, by age."""
    import psutil

    return [child.pid for child in psutil.Process(parent).children() if "work.py" in " ".join(child.cmdline())]


# --- in one process


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("whole", [1, 2, 7, 64])
def test_shares_are_the_whole_batch_once_and_never_empty(count, whole):
    shares = [distributed.Crew(rank, count).share(whole) for rank in range(count)]
    batch = list(range(whole))
    assert [image for own, weight in shares if weight for image in batch[own]] == batch
    assert all(batch[own] for own, _ in shares), "a process without images would have no gradient"
    assert all(weight in (0, len(batch[own]) / whole) for own, weight in shares)
    assert sum(weight for _, weight in shares) == pytest.approx(1)


def test_a_share_loses_the_latents_that_it_would_lose_among_all():
    model, x = models.build("ordered", 6, channels=1, size=28).train(), torch.rand(8, 1, 28, 28)

    def latents(share, x):
        torch.manual_seed(0)
        model.share = share
        with torch.no_grad():
            return model.encode(x)

    whole = latents(None, x)
    assert (whole == 0).any()
    assert torch.equal(latents((8, slice(3, 6)), x[3:6]) == 0, whole[3:6] == 0)
    assert torch.equal(latents((8, slice(0, 8)), x), whole)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_share_gets_the_noise_that_it_would_get_among_all(layout):
    residual = torch.rand(6, 4, 2, 3).contiguous(memory_format=layout)

    def charged(own, share=None):
        return prior.noisy(torch.Generator().manual_seed(0), share)(own)[0]

    noise = torch.empty_like(residual).uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(charged(residual), residual + noise)
    assert torch.equal(charged(residual[2:5], (6, slice(2, 5))), (residual + noise)[2:5])


def test_gradients_are_packed_and_unpacked():
    first, frozen, second = (torch.nn.Parameter(torch.ones(2, 3, 4, 4)) for _ in range(3))
    first.grad, second.grad = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    expected = [2 * first.grad, 2 * second.grad]
    parameters = [first, frozen, second]
    row = 2 * distributed.pack(torch.tensor(1.5, requires_grad=True), parameters)
    assert float(distributed.unpack(row, parameters)) == 3.0
    assert torch.equal(first.grad, expected[0])
    assert torch.equal(second.grad, expected[1])
    assert frozen.grad is None


def test_who_is_alone_needs_no_launcher(monkeypatch, tmp_path):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.distributed, "init_process_group", None)
    crew, device = distributed.launched(), torch.device("cpu")
    assert crew == distributed.Crew(0, 1)
    assert crew.connect(device) is device
    assert crew.found(tmp_path / "run.pt", device) is None
    assert crew.agreed(0.5, device) == 0.5
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert distributed.launched() == distributed.Crew(3, 4, 0, 4)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert distributed.launched() == distributed.Crew(3, 4, 1, 2)


@pytest.mark.parametrize("there", [True, False])
def test_a_checkpoint_that_only_some_see_is_refused(there, monkeypatch, tmp_path):
    file = tmp_path / "run.pt"
    if there:
        file.touch()
    monkeypatch.setattr(torch.distributed, "broadcast", lambda value, source: value.fill_(float(not there)))
    with pytest.raises(
        FileExistsError if there else FileNotFoundError, match=r"expected .*run.pt in a folder that all"
    ):
        distributed.Crew(1, 2).found(file, torch.device("cpu"))
