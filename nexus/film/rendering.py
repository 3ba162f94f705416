"""A storyboard to a film: what is not in the cache is made, then everything is placed, mixed and written."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from nexus.film.cache import Cache
from nexus.film.fit import fit_music, fit_video
from nexus.film.mix import MixResult, fill, mix
from nexus.film.plan import Asset, plan
from nexus.film.provenance import film_licence, manifest
from nexus.film.storyboard import Storyboard, exact, parse_storyboard, read_storyboard
from nexus.film.studio import Studio
from nexus.film.subtitles import chapters, cues, save_subtitles
from nexus.film.timeline import LineTimes, SceneTimes, SoundTimes, Timeline, Transition, place
from nexus.film.transitions import assemble
from nexus.media.audio import Audio
from nexus.media.io import check_suffix, check_writable, write_atomically
from nexus.media.video import Video
from nexus.media.video_io import write_video

RATE = 48000
TRANSITION_SECONDS = {"cut": Fraction(0), "dissolve": Fraction(1, 2), "fade": Fraction(1)}
COST = {
    "speech": 4.0,
    "video": 8.0,
    "sound": 4.0,
    "music": 12.0,
    "film": 6.0,
}  # of the work, roughly; for the progress bar

FilmProgress = Callable[[float, float, str], None]


@dataclass(frozen=True, kw_only=True)
class FilmResult:
    """A finished film: its files, and what was made for it and what was there already."""

    path: Path
    timeline: Timeline
    made: tuple[Asset, ...]
    reused: tuple[Asset, ...]
    manifest: dict[str, Any]
    files: tuple[Path, ...]


def render(
    storyboard: Storyboard | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    cache: str | Path | None = None,
    models: Mapping[str, Any] | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: FilmProgress | None = None,
    keep_stems: bool = False,
) -> FilmResult:
    """Renders a film, and beside it film.json, film.srt and film.vtt.

    What was made is kept in `cache`: a call that was stopped goes on where it was, and only what changed is made again.

    Args:
        storyboard: a .yaml or .json file, plain values, or a checked storyboard.
        out: an .mp4 file.
        models: another model for a kind (speech, video, sound, music), by name or as an object.
        seed: another one gives other takes of everything that has no seed of its own.
        progress: called with (work done, work in all, what is made now); an exception raised in it stops the call.
        keep_stems: also writes dialogue, music and effects as WAV files into film-stems/.

    Raises:
        ValueError, OSError: before any work where the storyboard, a voice file, a model's name or `out` is wrong.
    """
    out = Path(out)
    check_suffix(out, (".mp4",))
    check_writable(out)
    board = _checked(storyboard)
    studio = Studio(models, device)
    assets = plan(board, studio.identities(board), seed)
    store = Cache(cache)
    times_of(board, {})  # refuses what is wrong whatever the lines' lengths
    work = _Work(store, studio, board, assets, progress)
    for asset in assets:
        if asset.kind == "speech":
            work.ensure(asset)
    timeline = times_of(
        board, {key: audio for key, audio in work.finished("speech").items() if isinstance(audio, Audio)}
    )
    for asset in assets:
        work.ensure(asset)
    return _write(out, work, timeline, keep_stems)


def _checked(storyboard: Storyboard | Mapping[str, Any] | str | Path) -> Storyboard:
    if isinstance(storyboard, Storyboard):
        return storyboard
    if isinstance(storyboard, str | Path):
        return read_storyboard(storyboard)
    return parse_storyboard(dict(storyboard))


class _Work:
    """Makes what is missing, once each, and tells how far it is."""

    def __init__(
        self, store: Cache, studio: Studio, board: Storyboard, assets: Sequence[Asset], progress: FilmProgress | None
    ) -> None:
        self.store, self.studio, self.board, self.assets, self.progress = store, studio, board, assets, progress
        self.made: list[Asset] = []
        missing = {asset.key: asset.kind for asset in assets if not store.has(asset.key)}
        self.done, self.total = 0.0, float(sum(COST[kind] for kind in missing.values()) + COST["film"])

    def ensure(self, asset: Asset) -> Audio | Video:
        """The asset from the cache, or made now."""
        media = self.store.get(asset.key)
        if media is not None:
            return media
        with self.store.making(asset.key):
            media = self.store.get(asset.key)  # another process may have made it meanwhile
            if media is None:
                self.tell(0.0, asset.title)
                cost = COST[asset.kind]
                media = self.studio.make(
                    asset, self.board, lambda done, total: self.tell(cost * done / max(total, 1), asset.title)
                )
                self.store.put(asset.key, media)
                self.made.append(asset)
        self.done = min(self.done + COST[asset.kind], self.total - COST["film"])
        return media

    def tell(self, part: float, what: str) -> None:
        if self.progress is not None:
            self.progress(min(self.done + part, self.total), self.total, what)

    def finished(self, kind: str) -> dict[tuple[int | None, int], Audio | Video]:
        """The made assets of a kind, by scene and index."""
        return {(a.scene, a.index): self.ensure(a) for a in self.assets if a.kind == kind}


def times_of(board: Storyboard, spoken: Mapping[tuple[int | None, int], Audio]) -> Timeline:
    """The film's clock. Lines that are not `spoken` yet last no time, which finds what is wrong in any case.

    Raises:
        ValueError: lines overlap, or a sound begins after its scene's end.
    """
    fps = exact(board.fps)
    scenes = []
    for s, scene in enumerate(board.scenes):
        lines = tuple(
            LineTimes(
                who=line.who,
                text=line.line,
                length=spoken[s, i].resample(RATE).length if (s, i) in spoken else 0,
                at=None if line.at is None else exact(line.at),
            )
            for i, line in enumerate(scene.say)
        )
        sounds = tuple(
            SoundTimes(at=exact(n.at), duration=None if n.duration is None else exact(n.duration), gain_db=n.gain)
            for n in scene.sound
            if spoken or not scene.say  # a line may yet make the scene long enough
        )
        scenes.append(
            SceneTimes(
                duration=None if scene.duration is None else exact(scene.duration),
                lines=lines,
                sounds=sounds,
                transition=_transition(scene.transition, fps),
            )
        )
    return place(scenes, fps, RATE, board.score_scenes())


def _transition(kind: Any, fps: Fraction) -> Transition:
    return Transition(kind=kind, frames=0 if kind == "cut" else max(1, round(TRANSITION_SECONDS[kind] * fps)))


def _write(out: Path, work: _Work, timeline: Timeline, keep_stems: bool) -> FilmResult:
    """Mixes and writes the film and the files beside it; the film comes last."""
    board, what = work.board, "mixing and writing the film"
    work.done = work.total - COST["film"]
    work.tell(0.0, what)
    mixed = _mixed(work, timeline)
    work.tell(0.3 * COST["film"], what)
    facts = manifest(board, work.assets, timeline, {"loudness": mixed.loudness, "true_peak": mixed.true_peak})
    shown = cues(timeline)
    subtitles = [out.with_suffix(".srt"), out.with_suffix(".vtt")]
    for path in subtitles:
        save_subtitles(path, shown)
    stems = _save_stems(out, mixed) if keep_stems else []
    width, height = board.size
    clips = work.finished("video")

    def pictures(shot: Any) -> Any:
        work.tell((0.3 + 0.7 * shot.start_frame / max(timeline.frames, 1)) * COST["film"], what)
        clip = clips[shot.scene, 0]
        assert isinstance(clip, Video)
        return fit_video(clip, shot.frames, timeline.fps, width, height)

    about = out.with_suffix(".json")
    write_atomically(about, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())
    write_video(
        out, assemble(timeline, pictures), timeline.fps, (height, width), mixed.master,
        subtitles=shown, chapters=chapters(timeline, [scene.shot for scene in board.scenes]),
        metadata=_metadata(board, work.assets),
    )  # fmt: skip
    work.tell(COST["film"], "done")
    made = {asset.key for asset in work.made}
    return FilmResult(
        path=out,
        timeline=timeline,
        made=tuple(work.made),
        reused=tuple(asset for asset in work.assets if asset.key not in made),
        manifest=facts,
        files=(out, about, *subtitles, *stems),
    )


def _metadata(board: Storyboard, assets: Sequence[Asset]) -> dict[str, str]:
    licence = film_licence([asset.model for asset in assets])
    models = ", ".join(sorted({f"{asset.model.name} ({asset.model.licence})" for asset in assets}))
    return {"title": board.title, "comment": f"Made with nexus from {models}; use: {licence['use']}"}


def _mixed(work: _Work, timeline: Timeline) -> MixResult:
    """Every line, note and noise at its place."""
    board = work.board
    speech, noises, score = work.finished("speech"), work.finished("sound"), work.finished("music")
    by_scene: dict[int, int] = {}
    dialogue = []
    for line in timeline.lines:
        index = by_scene.get(line.scene, 0)
        by_scene[line.scene] = index + 1
        dialogue.append((_audio(speech[line.scene, index]), line.start_sample, 0.0))
    effects = [
        (fill(_audio(noises[s.scene, s.index]).resample(RATE), s.length), s.start_sample, s.gain_db)
        for s in timeline.sounds
    ]
    music = []
    if board.score is not None:
        for region in timeline.score:
            clip = fit_music(_audio(score[None, 0]).resample(RATE), board.score.prompt, region.length)
            music.append((clip, region.start_sample, board.score.gain))
    return mix({"dialogue": dialogue, "music": music, "effects": effects}, timeline.length, RATE)


def _audio(media: Audio | Video) -> Audio:
    assert isinstance(media, Audio)
    return media


def _save_stems(out: Path, mixed: MixResult) -> list[Path]:
    folder = out.with_name(f"{out.stem}-stems")
    os.makedirs(folder, exist_ok=True)
    paths = []
    for name, audio in mixed.stems.items():
        audio.save(folder / f"{name}.wav")
        paths.append(folder / f"{name}.wav")
    return paths
