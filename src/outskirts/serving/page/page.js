// The page of `outskirts serve`. Names come from the files of other people: they are put in as text, never as HTML.

/** Images and bytes of one request, at most; the server takes more, but then no progress would be seen. */
const GROUP = { images: 16, bytes: 16 * 2 ** 20 };
/** What the server says of single images, not of its own state. */
const OF_IMAGES = [400, 413, 415, 422];
const KEY = "outskirts-key";

const byId = (id) => document.getElementById(id);
const SVG = byId("icons").namespaceURI;

let guards = [];
let chosen = "";
let key = sessionStorage.getItem(KEY) ?? "";
/** What waits for a verdict: the file, its card and the name of the guard that is asked. */
let queue = [];
let total = 0;
let running = false;
let pasted = 0;
let cancel = new AbortController();

// --- Words and elements -------------------------------------------------------------------------------------------

const whole = (number) => number.toLocaleString("en");
const short = (number) => String(Number(number.toPrecision(3)));
const percent = (share) => `${(100 * share).toFixed(1)}%`;
const counted = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;

function filled(made, given, inside) {
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}
const make = (name, given = {}, ...inside) => filled(document.createElement(name), given, inside);
const draw = (name, given = {}, ...inside) => filled(document.createElementNS(SVG, name), given, inside);
const icon = (name) => draw("svg", { class: "icon", "aria-hidden": "true" }, draw("use", { href: `#icon-${name}` }));

/** Put a text in its place if it is another, as screen readers tell each change. */
function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

// --- The server ---------------------------------------------------------------------------------------------------

class Problem extends Error {
  constructor(status, detail, seconds = 0) {
    super(detail);
    Object.assign(this, { status, seconds });
  }
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { ...options, cache: "no-store", headers: key ? { "X-API-Key": key } : {} });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer.");
  }
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({}));
  const detail = said.detail ?? `The server answers with the status ${answer.status}.`;
  throw new Problem(answer.status, detail, Number(answer.headers.get("Retry-After")) || 0);
}

/** Say what is wrong, and how to go on. */
function tell(problem) {
  if (problem.status === 401) {
    say("key-text", key ? "This is not the key of the server. Try again." : "The server asks for a key.");
    if (!byId("key-form").hidden) return;
    byId("key-form").hidden = false;
    byId("key").focus();
    return;
  }
  const left = queue.length ? ` ${counted(queue.length, "image")} still ${queue.length === 1 ? "waits" : "wait"}.` : "";
  const busy = problem.status === 429 || problem.status === 503;
  const wait = problem.seconds ? ` Try again in ${problem.seconds} s.` : "";
  byId("notice").hidden = false;
  say("notice-text", (busy ? `The server is busy.${wait}` : problem.message) + left);
}

/** Read what the guards say of themselves, then go on with what waits. */
async function start() {
  byId("notice").hidden = byId("key-form").hidden = true;
  try {
    await learn();
    await Promise.all([watch(), work()]);
  } catch (problem) {
    tell(problem);
  }
}

async function learn() {
  guards = (await ask("info")).guards;
  if (!guards.some((guard) => guard.name === chosen)) chosen = guards[0].name;
  byId("guard").replaceChildren(...guards.map((guard) => make("option", {}, guard.name)));
  byId("guard").value = chosen;
  byId("choice").hidden = guards.length < 2;
  for (const one of queue) if (!named(one.guard)) one.guard = chosen;
  introduce(named(chosen));
}

const named = (name) => guards.find((guard) => guard.name === name);

function introduce(guard) {
  const { classes = [], detector } = guard.about;
  const more = classes.length > 6 ? ` and ${whole(classes.length - 5)} more` : "";
  const listed = (more ? classes.slice(0, 5) : classes).join(", ");
  say("heading", `Guard ${guard.name}`);
  document.title = `Guard ${guard.name}`;
  say("facts", `Classes: ${listed}${more}. Detector: ${detector.name}.`);
  // Where each class has its own threshold, the promise takes two sentences.
  const sentences = guard.thresholds[0].classes === null ? 1 : 2;
  say("promise", guard.promise.slice(0, sentences).join(" "));
  byId("not-promised").replaceChildren(...guard.promise.slice(sentences).map((one) => make("li", {}, one)));
  const address = new URL(`predict?guard=${encodeURIComponent(guard.name)}`, location.href);
  say("example", `curl -F image=@picture.jpg "${address}"`);
}

// --- Drift --------------------------------------------------------------------------------------------------------

async function watch() {
  let known;
  try {
    known = (await ask("drift")).guards.find((one) => one.name === chosen);
  } catch (problem) {
    if (problem.status === 401) tell(problem);
    return state("unread", problem.status === 401 ? "Not known without the key" : "Not known: no answer");
  }
  if (!known) return;
  state(known.alarm ? "rejected" : "accepted", known.alarm ? "Alarm: the images have changed" : "No alarm");
  const share = known.images ? percent(known.rejected / known.images) : "";
  const most = 100 * known.alarm_at;
  const evidence = known.e_value > most ? `over ${whole(most)}` : short(known.e_value);
  const numbers = {
    images: [whole(known.images)],
    rejected: [whole(known.rejected), make("small", {}, ` ${share}`)],
    [`evidence; alarm at ${short(known.alarm_at)}`]: [evidence],
  };
  const pairs = Object.entries(numbers);
  byId("drift-numbers").replaceChildren(
    ...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value))),
  );
  say("drift-sentence", known.sentence);
}

function state(name, text) {
  const place = byId("drift-state");
  if (place.textContent === text && place.dataset.state === name) return;
  place.dataset.state = byId("drift").dataset.state = name;
  place.replaceChildren(icon(name), text);
}

// --- Verdicts -----------------------------------------------------------------------------------------------------

const SAID = {
  waiting: ["Waiting", ""],
  accepted: ["Accepted", "It is like the images that the classifier knows."],
  rejected: ["Rejected", "It is unlike the images that the classifier knows."],
  unread: ["No verdict", ""],
};

function cardOf(file) {
  const picture = make("img", { src: URL.createObjectURL(file), alt: file.name, draggable: "false" });
  // A browser may not show what the server reads, and a drawing of few pixels is not to be blurred.
  const missing = make("span", { class: "no-picture", "aria-hidden": "true" }, "no preview");
  picture.addEventListener("error", () => picture.replaceWith(missing));
  picture.addEventListener("load", () => picture.classList.toggle("tiny", picture.naturalWidth < 64));
  const made = make("li", { class: "card verdict" }, make("div", { class: "told" }), picture);
  judge(made, "waiting", file.name);
  return made;
}

/** Show a verdict on a card, and what else there is to say. */
function judge(card, verdict, name, said = [], below = []) {
  const [word, sentence] = SAID[verdict];
  card.dataset.verdict = verdict;
  const told = make("span", { class: "word" }, icon(verdict), word);
  const title = make("h3", {}, told, make("span", { class: "name" }, name));
  const lines = [sentence, ...said].filter(Boolean).map((line) => make("p", {}, line));
  card.querySelector(".told").replaceChildren(title, ...lines);
  card.append(...below);
}

function showRow(one, row) {
  one.done = true;
  if (!("accepted" in row)) {
    judge(one.card, "unread", one.file.name, [row.error]);
    return;
  }
  const guard = named(one.guard);
  const group = guard.thresholds.find(({ classes }) => classes === null || classes.includes(row.label));
  const doubt = row.accepted ? "." : ". Do not rely on it.";
  const sure = row.confidence === null ? "" : `, ${percent(row.confidence)} sure`;
  const said = [
    row.label === null ? "" : `Predicted class: ${row.label}${sure}${doubt}`,
    pInWords(row.p_value, group.n, group.classes && row.label),
    row.error ? `Note: ${row.error}.` : "",
    guards.length > 1 ? `Guard: ${guard.name}.` : "",
  ];
  const below = row.score === null ? [] : [histogram(guard.histogram, row, group.threshold)];
  if (row.near?.length) below.push(nearest(row.near));
  judge(one.card, row.accepted ? "accepted" : "rejected", one.file.name, said, below);
}

function pInWords(p, n, label) {
  const high = Math.round(p * (n + 1)) - 1;
  const verb = high > 1 ? "score at least" : high ? "scores at least" : "scores";
  const of = `of ${whole(n)} calibration images${label ? ` taken for ${label}` : ""}`;
  return `${high ? whole(high) : "None"} ${of} ${verb} as high (p\u00a0=\u00a0${Number(p.toPrecision(2))}).`;
}

function nearest(near) {
  const items = near.map(({ name, label, distance, picture }) => make("li", {},
    make("img", { src: picture, alt: `Training image ${name}`, title: name }),
    make("span", {}, make("strong", {}, label || "no label")),
    make("span", {}, `distance ${distance.toFixed(2)}`),
    // The picture is already called this.
    make("small", { "aria-hidden": "true" }, name),
  ));
  return make("div", { class: "near" }, make("h4", {}, "Nearest training images"), make("ul", {}, ...items));
}

/** The calibration scores, with the threshold and the score of one image. */
function histogram({ counts, edges }, { score, accepted }, threshold) {
  const [width, left, right, top, floor] = [320, 16, 304, 20, 76];
  const [low, high, most] = [edges[0], edges.at(-1), Math.max(...counts)];
  const at = (value) => left + (right - left) * Math.min(1, Math.max(0, (value - low) / (high - low)));
  const images = counts.reduce((sum, count) => sum + count, 0);
  const label = `Score ${short(score)}, ${accepted ? "not above" : "above"} the threshold ${short(threshold)}. The ` +
    `${counted(images, "calibration image")} score from ${short(low)} to ${short(high)}.`;
  const bars = counts.map((count, place) => {
    const height = count && Math.max(1.5, ((floor - top) * count) / most);
    const [from, to] = [at(edges[place]), at(edges[place + 1])];
    return draw("rect", { class: "bar", x: from + 0.5, y: floor - height, width: to - from - 1, height });
  });
  const side = (x) => (x > width / 2 ? { x: x - 10, "text-anchor": "end" } : { x: x + 10, "text-anchor": "start" });
  const limit = at(threshold);
  const beyond = Math.sign(score > high) - Math.sign(score < low);
  const x = beyond ? (beyond > 0 ? right + 2 : left - 2) : at(score);
  const tip = beyond ? `${x},${floor + 2} ${x},${floor + 14} ${x + 11 * beyond},${floor + 8}`
    : `${x - 6},${floor + 14} ${x + 6},${floor + 14} ${x},${floor + 3}`;
  return draw("svg", { class: "histogram", role: "img", viewBox: `0 0 ${width} 94`, "aria-label": label },
    draw("title", {}, label),
    draw("rect", { class: "beyond", x: limit, y: top - 14, width: width - limit, height: floor - top + 14 }),
    ...bars,
    draw("line", { class: "floor", x1: 0, x2: width, y1: floor, y2: floor }),
    draw("line", { class: "limit", x1: limit, x2: limit, y1: top - 14, y2: floor }),
    draw("text", { ...side(limit), y: top - 5 }, `threshold ${short(threshold)}`),
    ...(beyond ? [] : [draw("line", { class: "here", x1: x, x2: x, y1: top, y2: floor })]),
    draw("polygon", { class: "mark", points: tip }),
    draw("text", { ...side(x), class: "own", y: floor + 13 }, `score ${short(score)}`),
  );
}

// --- Work ---------------------------------------------------------------------------------------------------------

function give(files) {
  if (!files.length) return;
  const items = Array.from(files, (file) => ({ file, guard: chosen, card: cardOf(file), done: false }));
  // The latest come first, in their own order.
  byId("verdicts").prepend(...items.map(({ card }) => card));
  total = queue.length ? total + items.length : items.length;
  queue.push(...items);
  byId("clear").hidden = byId("legend").hidden = false;
  if (!guards.length) start();
  else work();
}

function nextGroup() {
  let bytes = 0;
  const end = queue.findIndex(({ file, guard }, place) => {
    bytes += file.size;
    return place > 0 && (place >= GROUP.images || bytes > GROUP.bytes || guard !== queue[0].guard);
  });
  return queue.slice(0, end < 0 ? queue.length : end);
}

/** Ask for verdicts on all that waits, one group after the other. */
async function work() {
  if (running) return;
  running = true;
  byId("notice").hidden = true;
  while (queue.length) {
    const group = nextGroup();
    const first = total - queue.length + 1;
    say("status", total === 1 ? "Checking 1 image …"
      : `Checking ${whole(first)} to ${whole(first + group.length - 1)} of ${whole(total)} images …`);
    let stopped = null;
    try {
      await check(group);
    } catch (problem) {
      stopped = problem;
    }
    queue = queue.filter((one) => !one.done);
    // Where all was cleared meanwhile, what came since is still to be checked.
    if (stopped && stopped.name !== "AbortError") {
      tell(stopped);
      break;
    }
    if (!stopped) watch();
  }
  running = false;
  sum();
}

async function check(group) {
  const signal = cancel.signal;
  const asked = [];
  for (const one of group.filter(({ done }) => !done)) {
    // A folder, or a file that is gone, would break the request of all.
    const sound = await one.file.slice(0, 1).arrayBuffer().then(() => true, () => false);
    if (sound) asked.push(one);
    else showRow(one, { error: "The browser cannot read this file. Of a folder, give the images in it." });
  }
  if (!asked.length) return;
  const form = new FormData();
  for (const { file } of asked) form.append("image", file, file.name);
  const { guard } = asked[0];
  const query = new URLSearchParams({ guard, ...(named(guard)?.near ? { near: 3 } : {}) });
  let answer;
  try {
    answer = await ask(`predict?${query}`, { method: "POST", body: form, signal });
  } catch (problem) {
    // A server that refuses a large body may end the connection before the browser has read why.
    const { size } = asked[0].file;
    if (problem.status === 0 && asked.length === 1 && size > GROUP.bytes) {
      problem.message = `The server did not take this file of ${whole(Math.round(size / 2 ** 20))} MB.`;
    } else if (!OF_IMAGES.includes(problem.status)) throw problem;
    if (asked.length === 1) showRow(asked[0], { error: problem.message });
    // Alone, each gets its own verdict or reason.
    else for (const one of asked) await check([one]);
    return;
  }
  if (answer.version !== named(guard)?.version) await learn();
  answer.verdicts.forEach((row, place) => showRow(asked[place], row));
}

/** Say how many verdicts of each kind are shown. */
function sum() {
  const number = (verdict) => document.querySelectorAll(`[data-verdict="${verdict}"]`).length;
  const cards = byId("verdicts").childElementCount;
  const parts = [`${whole(number("accepted"))} accepted`, `${whole(number("rejected"))} rejected`];
  if (number("unread")) parts.push(`${whole(number("unread"))} without verdict`);
  if (number("waiting")) parts.push(`${whole(number("waiting"))} waiting`);
  say("status", cards ? `${counted(cards, "image")}: ${parts.join(", ")}` : "");
}

function clear() {
  cancel.abort();
  cancel = new AbortController();
  queue = [];
  for (const picture of byId("verdicts").querySelectorAll(".verdict > img")) URL.revokeObjectURL(picture.src);
  byId("verdicts").replaceChildren();
  byId("clear").hidden = byId("legend").hidden = byId("notice").hidden = true;
  byId("files").focus();
  sum();
}

// --- Events -------------------------------------------------------------------------------------------------------

byId("files").addEventListener("change", ({ target }) => {
  give(target.files);
  target.value = ""; // So that the same file can be given again.
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) byId("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  give(event.dataTransfer.files);
});
document.addEventListener("paste", ({ clipboardData }) => {
  // Pictures that are in no file all have this name.
  const renamed = (file) => new File([file], `pasted ${++pasted}`, { type: file.type });
  give(Array.from(clipboardData.files, (file) => (file.name === "image.png" ? renamed(file) : file)));
});
byId("clear").addEventListener("click", clear);
byId("again").addEventListener("click", start);
byId("guard").addEventListener("change", ({ target }) => {
  chosen = target.value;
  introduce(named(chosen));
  watch();
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = byId("key").value;
  sessionStorage.setItem(KEY, key);
  byId("key").value = "";
  start();
});
const refresh = () => document.visibilityState === "visible" && guards.length && watch();
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, 15_000);
start();
