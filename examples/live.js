// Shows what the stream of live.plua sends.
new EventSource("live.plua?stream=1").addEventListener("time", event => {
  document.getElementById("time").textContent = event.data;
});
