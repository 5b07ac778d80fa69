// A black square to draw on with a white pen; tells the kernel its 28x28 grey values, row by row, after each stroke.
function render({ model, el }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 280;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Square to draw a digit on");
  canvas.style.cssText = "width:224px;height:224px;background:black;outline:1px solid gray;outline-offset:-1px;touch-action:none;cursor:crosshair";
  const pen = canvas.getContext("2d");
  const small = document.createElement("canvas");
  small.width = small.height = 28;
  const shrunk = small.getContext("2d", { willReadFrequently: true });
  const place = (event) => [(event.offsetX * 280) / canvas.clientWidth, (event.offsetY * 280) / canvas.clientHeight];
  let drawing = false;
  const clear = () => {
    pen.fillStyle = "black";
    pen.fillRect(0, 0, 280, 280);
  };
  const tell = () => {
    shrunk.imageSmoothingQuality = "high";
    shrunk.drawImage(canvas, 0, 0, 28, 28);
    const colours = shrunk.getImageData(0, 0, 28, 28).data;
    model.set("pixels", Array.from({ length: 784 }, (_, at) => colours[4 * at]));
    model.save_changes();
  };
  canvas.addEventListener("pointerdown", (event) => {
    drawing = true;
    canvas.setPointerCapture(event.pointerId);
    Object.assign(pen, { lineWidth: 24, lineCap: "round", lineJoin: "round", strokeStyle: "white" });
    pen.beginPath();
    pen.moveTo(...place(event));
    pen.lineTo(...place(event));
    pen.stroke();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    pen.lineTo(...place(event));
    pen.stroke();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      drawing = false;
      tell();
    });
  }
  model.on("change:cleared", () => {
    clear();
    tell();
  });
  clear();
  el.append(canvas);
}
export default { render };
