// A clip can be graded once it was played to its end, and a slider once it was moved; one clip plays at a time.
const form = document.querySelector("form.trial");
if (form) {
  const players = [...document.querySelectorAll("audio, video")];
  const sliders = [...form.querySelectorAll("input[type=range]")];
  const button = form.querySelector("button");
  const hint = document.getElementById("hint");
  const unheard = new Set(players);
  const unmoved = new Set(sliders);
  const refresh = () => {
    button.disabled = unheard.size > 0 || unmoved.size > 0;
    hint.textContent = unheard.size ? `Still to be played to the end: ${unheard.size} of ${players.length}.`
      : unmoved.size ? `Still to be moved: ${unmoved.size} of ${sliders.length} sliders.` : "";
  };
  for (const player of players) {
    player.addEventListener("play", () => players.forEach((other) => other === player || other.pause()));
    player.addEventListener("ended", () => { unheard.delete(player); refresh(); });
    player.addEventListener("error", () => { hint.textContent = "This browser cannot play the clip; try another."; });
  }
  for (const slider of sliders) {
    slider.addEventListener("input", () => {
      slider.parentElement.querySelector("output").textContent = slider.value;
      unmoved.delete(slider);
      refresh();
    });
  }
  refresh();
}
