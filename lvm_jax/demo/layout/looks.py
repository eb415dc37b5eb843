"""What gradio's look and behavior lack here, as a style sheet and a script."""

CSS = """
.gradio-container { width: 100%; max-width: min(1280px, 100vw) !important;
  margin: 0 auto !important; }
@media (max-width: 600px) {
  .main.app { padding: 12px !important; }
  .tab-container button { padding: 4px 10px !important; font-size: 14px !important; }
  .square .float span { display: none; }
}

/* Lines that say something are read while something goes on, too. */
.problem { color: var(--error-icon-color, #dc2626); font-weight: 600; }
.status { min-height: 1.5em; overflow-wrap: anywhere; }
.block.status { display: flex; flex-direction: row-reverse; gap: 8px; }
.status > .html-container { flex: 1; }
.status > .wrap:not(.hide), .status .progress-text { position: static !important;
  width: auto !important; height: auto !important; transform: none !important; }
.status .html-container { padding: 0 !important; opacity: 1 !important; }

/* Places for pictures, in rows that stay rows on a phone. */
.pair { flex-wrap: nowrap !important; align-items: stretch; }
.moves { justify-content: center; flex: 0 0 40px !important; }
.moves button { min-width: 36px !important; padding: 4px !important; }
.square img { object-fit: contain !important; }
.square .wrap { min-height: 0 !important; }

/* Answers, each with its caption below instead of over it. */
.answers { min-height: 96px; }
.answers .grid-wrap { min-height: 0 !important; max-height: none !important;
  padding-top: 32px; }
.answers .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(110px, 1fr)) !important; }
.answers img { object-fit: contain !important; }
.answers .thumbnail-lg img { height: auto !important; aspect-ratio: 1; }
.answers .thumbnail-lg { display: flex; flex-direction: column; height: 100%;
  aspect-ratio: auto !important; }
.answers .thumbnail-lg .caption-label { position: static !important; align-self: stretch;
  max-width: none !important; border: none; background: none; padding: 2px 4px !important;
  white-space: normal !important; text-align: left; line-height: 1.2; }

/* One of them, large, above the others. */
.answers :has(> .preview) { min-height: 360px; }
.answers .thumbnail-small { flex: none !important; width: 48px !important; height: 48px; }

/* The label of a strip is above its first line. */
#strip .image-container { padding-top: 28px; }

/* A picture lies in the middle of its canvas, and so does the canvas. */
#canvas .pixi-target { display: flex; justify-content: center; }

/* Cards of one height, with their buttons in one line; the whole card is the button, but for what
   it says of its pictures. */
.examples { display: grid !important; align-items: stretch !important;
  grid-template-columns: repeat(auto-fill, minmax(min(240px, 45%), 1fr)); }
.examples .column { position: relative; gap: 6px; }
.examples button { white-space: normal; }
.examples button::after { content: ""; position: absolute; inset: 0; }
.examples details { position: relative; z-index: 1; font-size: 12px; line-height: 1.3;
  overflow-wrap: anywhere; }
.examples summary { cursor: pointer; padding: 2px 0; color: var(--block-info-text-color); }
.examples .html-container { padding: 0 !important; }
.thumbnails { display: flex; gap: 2px; }
.thumbnails > * { flex: 1; min-width: 0; }
.thumbnails .asked { display: grid; place-items: center; aspect-ratio: 1;
  border: 1px dashed var(--border-color-primary); }
"""

# gradio pastes with a button alone, and only where the page comes from this machine or over https.
SCRIPT = """
document.addEventListener("paste", (event) => {
  const picture = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
  const places = [...document.querySelectorAll(".square, #canvas")].filter((at) => at.offsetParent);
  const place = places.find((at) => at.matches(":hover")) ??
    places.find((at) => !at.querySelector("img"));
  const input = place?.querySelector("input[type=file]");
  if (!picture || !input) return;
  const given = new DataTransfer();
  given.items.add(picture);
  input.files = given.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  event.preventDefault();
});
"""
