// Asks for the number of together.plua that comes after the one it knows.
const shown = document.getElementById("pressed");

async function follow() {
  for (;;) {
    try {
      const answer = await fetch("together.plua?known=" + shown.textContent);
      shown.textContent = (await answer.json()).pressed;
    } catch {
      await new Promise(resolve => setTimeout(resolve, 2000));
    }
  }
}

follow();
