export function fitPoints(curve) { return Array.from({length:12},(_,i)=>[i/11, curve[Math.round(i/11*(curve.length-1))]/255]); }
